/* Square transposes in registers, with the compiler's own vectors (GCC, Clang). */
#ifndef DSE_TRANSPOSE_H
#define DSE_TRANSPOSE_H

#define LOW_4(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH_4(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define LOW_8(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_8(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define LOW_16(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH_16(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)

/* r[n], vectors of n elements: log2(n) rounds of "interleave r[i] with r[i + n / 2]". n is 4, 8 or 16, as a number. */
#define TRANSPOSE(type, n, r) TRANSPOSE_(type, n, LOW_##n, HIGH_##n, r)
#define TRANSPOSE_(type, n, LOW, HIGH, r)                                                                              \
    for (int size = 1; size < n; size *= 2) {                                                                          \
        type s[n];                                                                                                     \
        for (int i = 0; i < n / 2; i++) {                                                                              \
            s[2 * i] = LOW(r[i], r[i + n / 2]);                                                                        \
            s[2 * i + 1] = HIGH(r[i], r[i + n / 2]);                                                                   \
        }                                                                                                              \
        for (int i = 0; i < n; i++)                                                                                    \
            r[i] = s[i];                                                                                               \
    }

#endif

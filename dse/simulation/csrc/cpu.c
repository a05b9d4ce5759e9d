/* What this processor can run. */
#include "native.h"

int dse_abi_version(void) { return DSE_ABI_VERSION; }

#if defined(__x86_64__) && defined(DSE_HAS_AVX2)

/* The compiler's run-time checks read cpuid and, by xgetbv, that the operating system saves the registers. */
int dse_best_isa(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2"))
        return DSE_PORTABLE;
#if defined(DSE_HAS_AVX512)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
#if defined(DSE_HAS_AVX512_VBMI)
        if (__builtin_cpu_supports("avx512vbmi"))
            return DSE_AVX512_VBMI;
#endif
        return DSE_AVX512;
    }
#endif
    return DSE_AVX2;
}

#else

int dse_best_isa(void) { return DSE_PORTABLE; }

#endif

/* C ABI of the native library. Calls work in memory that the caller owns; functions return DSE_OK or another
 * `enum dse_error` unless they say otherwise. */
#ifndef DSE_NATIVE_H
#define DSE_NATIVE_H

#include <stdint.h>

#if defined(_WIN32)
#define DSE_API __declspec(dllexport)
#else
#define DSE_API __attribute__((visibility("default")))
#endif

#define DSE_ABI_VERSION 7

enum dse_isa { DSE_PORTABLE = 0, DSE_AVX2 = 1, DSE_AVX512 = 2, DSE_AVX512_VBMI = 3 };
enum dse_error { DSE_OK = 0, DSE_E_ARGUMENT = -1, DSE_E_ISA = -2 };

DSE_API int dse_abi_version(void);

/* Highest level of `enum dse_isa` that this processor, its operating system and this build can run. */
DSE_API int dse_best_isa(void);

/* Runs all later calls on the threads of an OpenMP runtime that is in the process, given its GOMP_parallel; NULL: on
 * threads that live for one call. The threads of a runtime wait for work spinning, at the expense of any others. */
DSE_API void dse_use_openmp(void *gomp_parallel);

/* A convolution of codes that are padded already; a Linear layer is a 1x1 convolution of 1x1 images. */
typedef struct {
    int64_t n, height, width;   /* of the padded input */
    int64_t channels, outputs;  /* of all groups together */
    int64_t groups;
    int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
} dse_conv;

/* What becomes of the sums: y = sum + constant as int32, or float(y) * scale + bias with two roundings. */
typedef struct {
    const int32_t *constant;   /* [outputs] */
    const float *scale, *bias; /* [outputs], or both NULL for int32 outputs */
} dse_finish;

/* Codes of n values: clamp(round(value * inverse_scale) + zero_point, low, low + 255) as bytes, rounding half to even.
 * NaN becomes `low`. */
DSE_API int dse_quantize(const float *values, int64_t n, float inverse_scale, float zero_point, int low, uint8_t *codes,
                         int isa, int n_threads);

/* What becomes of int8 convolutions' sums, in place: y = sum + constant + slope * windows, as int32 or, with scale and
 * bias, as float(y) * scale + bias with two roundings.
 *
 * sums:     [n][outputs], int32, or where is_float floats that hold integers below 2^24.
 * constant: [outputs].
 * slope:    [outputs], and windows: [n][groups], or both NULL.
 * scale:    [outputs], and bias: [outputs], or both NULL.
 */
DSE_API int dse_complete(void *sums, int is_float, int64_t n, int64_t outputs, int64_t groups, const int32_t *constant,
                        const int32_t *slope, const int32_t *windows, const float *scale, const float *bias, int isa,
                        int n_threads);

/* Sums of all codes under the kernel, by group: [n][out_height][out_width][groups] of [n][height][width][channels]. */
DSE_API int64_t dse_window_workspace(const dse_conv *conv, int n_threads);
DSE_API int dse_window_sums(const dse_conv *conv, const uint8_t *codes, int32_t *out, void *workspace, int isa,
                            int n_threads);

/* features[i] = table[codes[i]], n of them, each `width` (1, 2, 4, 8 or 16) bytes. */
DSE_API int dse_expand(const uint8_t *codes, int64_t n, const void *table, int width, void *features, int isa,
                       int n_threads);

/* Bytes of workspace, aligned to 64, that the calls below need. */
DSE_API int64_t dse_rows_workspace(int n_threads);

/* Sums of table entries: sum_k (columns[w_ok][x_k] - zero_point[o] * code(x_k)), entries int32.
 *
 * codes:      [n][height][width][channels], bytes that index a column.
 * columns:    of every table its [256][256], a column for every weight.
 * table_of:   [outputs], which table an output goes through; NULL: all through the first.
 * column_of:  [outputs][kernel_h][kernel_w][channels / groups], the column of every weight.
 * zero_point: [outputs], of the weights.
 * is_signed:  whether bytes from 128 on are negative codes.
 * out:        [n][out_height][out_width][outputs], int32 or float.
 */
DSE_API int dse_rows(const dse_conv *conv, const uint8_t *codes, const int32_t *const *columns, const uint8_t *table_of,
                         const uint8_t *column_of, const int32_t *zero_point, int is_signed, const dse_finish *finish,
                         void *out, void *workspace, int isa, int n_threads);

/* The same for groups of few outputs, without a workspace. */
DSE_API int dse_columns(const dse_conv *conv, const uint8_t *codes, const int32_t *const *columns,
                        const uint8_t *table_of, const uint8_t *column_of, const int32_t *zero_point, int is_signed,
                        const dse_finish *finish, void *out, int isa, int n_threads);

/* The same for few output positions, one look-up a product. What differs:
 *
 * tables:     of every table its [256][256], entries by the byte of the activation code, then of the weight.
 * weights:    [groups][kernel_h][kernel_w][channels / groups][outputs / groups], bytes of the weights.
 */
DSE_API int dse_direct(const dse_conv *conv, const uint8_t *codes, const int32_t *const *tables,
                       const uint8_t *table_of, const uint8_t *weights, const int32_t *zero_point, int is_signed,
                       const dse_finish *finish, void *out, int isa, int n_threads);

/* The same by byte permutes (AVX-512 VBMI), where entries are low + 0..65535. What differs:
 *
 * low:        of every table.
 * planes:     of every table its [256][2][256], low and high bytes of the entries less `low`.
 * is_signed:  whether bytes from 128 on are negative codes; only the zero points ask.
 */
DSE_API int64_t dse_permute_workspace(const dse_conv *conv, int n_threads);
DSE_API int dse_permute(const int32_t *low, const dse_conv *conv, const uint8_t *codes, const uint8_t *const *planes,
                        const uint8_t *table_of, const uint8_t *column_of, const int32_t *zero_point, int is_signed,
                        const dse_finish *finish, void *out, void *workspace, int isa, int n_threads);

/* A sparse matrix in dCSR (dse/sparse/dcsr.py), valid: nothing here is checked against its shape. */
enum { DSE_SPARSE_ROWS = 64, DSE_SPARSE_TILE = 64, DSE_SPARSE_MARGIN = 576 };
typedef struct {
    int64_t rows, columns, nnz;
    const int8_t *values;         /* [nnz], and 16 bytes that may be read */
    const uint8_t *delta_indices; /* [16 * ceil(G / 2)] */
    const int8_t *group_minimums; /* [G] */
    const uint8_t *bitmaps;       /* [ceil(G / 2)] */
    const uint16_t *bitmasks;     /* [M], and 8 that may be read */
    const int16_t *row_offsets;   /* [rows] */
    const int64_t *starts;        /* [ceil(rows / DSE_SPARSE_ROWS)][3]: first value, group and mask of those rows */
} dse_sparse;

/* y[r] = sum_c matrix[r, c] * x[c]; modulo 2^32. workspace: columns + DSE_SPARSE_MARGIN bytes. */
DSE_API int dse_sparse_vector(const dse_sparse *matrix, const int8_t *x, int32_t *y, int8_t *workspace, int isa,
                              int n_threads);

/* The same for n columns at once, a multiple of DSE_SPARSE_TILE: x [columns][n], y [rows][n]. */
DSE_API int dse_sparse_matrix(const dse_sparse *matrix, const int8_t *x, int64_t n, int32_t *y, int isa, int n_threads);

#endif

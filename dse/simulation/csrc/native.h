/* C ABI of the native library. Stateless; every call creates and joins its own threads. Returns 0 or a DSE_E code. */
#ifndef DSE_NATIVE_H
#define DSE_NATIVE_H

#include <stdint.h>

#if defined(_WIN32)
#define DSE_API __declspec(dllexport)
#else
#define DSE_API __attribute__((visibility("default")))
#endif

#define DSE_ABI_VERSION 1

enum dse_isa { DSE_PORTABLE = 0, DSE_AVX2 = 1, DSE_AVX512 = 2, DSE_AVX512_VBMI = 3 };
enum dse_error { DSE_OK = 0, DSE_E_ARGUMENT = -1, DSE_E_ISA = -2, DSE_E_MEMORY = -3 };

DSE_API int dse_abi_version(void);

/* Highest level of `enum dse_isa` that this processor, its operating system and this build can run. */
DSE_API int dse_best_isa(void);

#endif

/* The version of a kernel for an instruction-set level. */
#ifndef DSE_DISPATCH_H
#define DSE_DISPATCH_H

#include "native.h"

#if defined(DSE_HAS_AVX512)
#define CHOOSE(name, isa) ((isa) >= DSE_AVX512 ? name##avx512 : (isa) >= DSE_AVX2 ? name##avx2 : name##portable)
#elif defined(DSE_HAS_AVX2)
#define CHOOSE(name, isa) ((isa) >= DSE_AVX2 ? name##avx2 : name##portable)
#else
#define CHOOSE(name, isa) ((void)(isa), name##portable)
#endif

static inline int can_run(int isa) { return isa >= DSE_PORTABLE && isa <= dse_best_isa(); }

#endif

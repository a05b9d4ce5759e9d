#define ISA avx512
#define VECTOR_BYTES 64
#define UNROLL 8
#include "rows_kernel.h"

#define ISA avx2
#define VECTOR_BYTES 32
#define UNROLL 4
#include "rows_kernel.h"

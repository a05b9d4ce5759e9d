#define ISA portable
#define VECTOR_BYTES 16
#define UNROLL 2
#include "rows_kernel.h"

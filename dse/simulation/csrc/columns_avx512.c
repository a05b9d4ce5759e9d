#define ISA avx512
#include "columns_kernel.h"

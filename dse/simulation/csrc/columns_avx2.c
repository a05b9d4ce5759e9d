#define ISA avx2
#include "columns_kernel.h"

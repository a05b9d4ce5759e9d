#define ISA avx2
#include "pointwise_kernel.h"

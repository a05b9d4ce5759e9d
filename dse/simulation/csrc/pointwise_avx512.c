#define ISA avx512
#include "pointwise_kernel.h"

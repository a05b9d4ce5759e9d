#define ISA avx512
#include "direct_kernel.h"

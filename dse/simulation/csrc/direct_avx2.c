#define ISA avx2
#include "direct_kernel.h"

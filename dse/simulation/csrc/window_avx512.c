#define ISA avx512
#include "window_kernel.h"

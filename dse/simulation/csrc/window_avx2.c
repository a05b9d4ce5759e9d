#define ISA avx2
#include "window_kernel.h"

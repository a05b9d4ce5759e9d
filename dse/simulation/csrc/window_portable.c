#define ISA portable
#include "window_kernel.h"

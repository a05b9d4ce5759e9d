#define ISA portable
#include "direct_kernel.h"

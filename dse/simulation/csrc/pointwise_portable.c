#define ISA portable
#include "pointwise_kernel.h"

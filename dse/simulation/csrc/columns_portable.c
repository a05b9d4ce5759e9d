#define ISA portable
#include "columns_kernel.h"

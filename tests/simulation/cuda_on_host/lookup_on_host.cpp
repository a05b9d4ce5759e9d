#include "cuda_on_host.hpp"

#include "lookup.cu"

const std::vector<Kernel> KERNELS = {
    KERNEL(lookup_rows_8), KERNEL(lookup_rows_16), KERNEL(lookup_rows_32), KERNEL(lookup_rows_64),
    KERNEL(lookup_columns),
};

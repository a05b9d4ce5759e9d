#include "cuda_on_host.hpp"

#include "../../../benchmarks/plain_lookup.cu"

const std::vector<Kernel> KERNELS = {KERNEL(plain_lookup)};

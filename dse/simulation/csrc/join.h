/* Names of one instruction set's version of a kernel. */
#ifndef DSE_JOIN_H
#define DSE_JOIN_H

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

#endif

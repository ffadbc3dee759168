/* device.h - what a rank runs on: memory and speed, from a device file.
 *
 * A device file has lines `key = value`, # begins a comment:
 *
 *   memory_bytes   what the device has (80 GB are 80e9)
 *   reserve_bytes  of it, for the context, NCCL and cuBLASLt
 *   flops          multiplications and additions per second that matrix products reach
 *   memory_rate    bytes per second that kernels read and write; without it memory limits none
 *   launch_us      what the shortest kernel takes, microseconds; without it nothing
 *   link_bytes     bytes per second that a rank sends
 *   link_us        latency of a transfer, microseconds
 */
#ifndef GLMC_DEVICE_H
#define GLMC_DEVICE_H

#include "../base/diag.h"

typedef struct Device {
	const char *name;
	double memory_bytes, reserve_bytes, flops, memory_rate, launch_us, link_bytes, link_us;
} Device;

/* device_load - false after diag_error. */
bool device_load(Arena *a, Diag *d, Span at, const char *path, Device *out);

#endif

/* rt_launcher.h - what the launcher's environment says beside rank and world (rt_comm_rank). */
#ifndef GLMC_RT_LAUNCHER_H
#define GLMC_RT_LAUNCHER_H

#include <stddef.h>

/* rt_local_rank - this rank's number on its machine; its rank when the launcher does not say. */
int rt_local_rank(int rank);

/* rt_launcher_address - where rank 0 can be reached, as host and port. False with a message when the
 * environment does not say. In this order: GLMC_MASTER=host:port; torchrun's MASTER_ADDR and the port
 * after MASTER_PORT; Slurm's first host; this machine, when the launcher has all ranks on it. */
int rt_launcher_address(int world, char host[256], int *port, char *err, size_t size);

#endif

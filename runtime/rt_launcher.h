/* rt_launcher.h - what the launcher's environment says beside rank and world (rt_comm_rank). */
#ifndef GLMC_RT_LAUNCHER_H
#define GLMC_RT_LAUNCHER_H

#include <stddef.h>

/* rt_local_rank - this rank's number on its machine; its rank when the launcher does not say. */
int rt_local_rank(int rank);

/* rt_launcher_unused - a line "note: ..." for every launcher of which some variables are set, but not all that rank
 * and world need; "" when there is none. Some are set where nothing was launched: a shell of sbatch has Slurm's. */
void rt_launcher_unused(char *notes, size_t size);

/* rt_launcher_check - false with a message when GLMC_MASTER or MASTER_PORT can be no address. */
int rt_launcher_check(char *err, size_t size);

/* rt_launcher_address - where rank 0 can be reached, as host and port. False with a message when the
 * environment does not say. In this order: GLMC_MASTER=host:port; torchrun's MASTER_ADDR and the port
 * after MASTER_PORT; Slurm's first host; this machine, when the launcher has all ranks on it. */
int rt_launcher_address(int world, char host[256], int *port, char *err, size_t size);

#endif

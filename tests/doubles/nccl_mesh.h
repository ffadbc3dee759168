/* nccl_mesh.h - messages between the processes of a run, over Unix sockets; never blocks once all are there.
 */
#ifndef GLMC_NCCL_MESH_H
#define GLMC_NCCL_MESH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MESH_RANKS = 64 };

typedef enum FrameKind { FRAME_WANTS, FRAME_READY, FRAME_DATA, FRAME_LANDED } FrameKind;

/* WANTS: the sender of a transfer has come to it; READY: so has the receiver; DATA: `bytes` follow;
 * LANDED: said here when all of them are read. */
typedef struct Frame {
	uint32_t kind, op;       /* op: what call it belongs to */
	uint64_t comm, number;   /* communicator, transfer from this sender to this receiver in it */
	uint64_t bytes;
} Frame;

/* What is done with an incoming frame; for DATA it returns where the bytes go. */
typedef void *MeshHear(void *ctx, int from, const Frame *f);

typedef struct Mesh Mesh;

/* mesh_join - connects all ranks; blocks. */
Mesh *mesh_join(const char *name, int rank, int world, MeshHear *hear, void *ctx);
void mesh_free(Mesh *m);

/* mesh_send - `data` must stay until mesh_sent is true for what it returns. */
uint64_t mesh_send(Mesh *m, int to, Frame f, const void *data);
bool mesh_sent(const Mesh *m, int to, uint64_t ticket);

/* mesh_poll - moves what can move. */
void mesh_poll(Mesh *m);

/* mesh_exchange - for set-up: every rank of `ranks` gives `bytes` bytes, all get all; blocks. */
void mesh_exchange(Mesh *m, const int *ranks, int n, int me, const void *mine, void *all, size_t bytes);

#endif

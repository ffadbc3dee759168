/* status.h - exit status of glmc and of every rank (contract, DESIGN 7). */
#ifndef GLMC_STATUS_H
#define GLMC_STATUS_H

enum Status {
	ST_OK = 0,
	ST_INPUT = 1,   /* the input is wrong: diagnostic on stderr */
	ST_USAGE = 2,   /* wrong command line; rank file of another pipeline rank */
	ST_ENV = 3,     /* no driver, no NCCL, no C compiler */
	ST_DATA = 4,    /* data or checkpoint */
	ST_COMM = 5,    /* communication, a peer lost */
	ST_NUMERIC = 6, /* not finite */
	ST_MEMORY = 7,  /* out of memory or disk */
	ST_BUG = 70     /* a fault of ours */
};

/* status_of_errno - 7 when memory or disk is used up, else `other`. */
int status_of_errno(int error, int other);

#endif

/* rt_comm_base.c - who this rank is among the others, and what it is doing. */
#include "rt_comm_int.h"

#include <stdio.h>

void rt_comm_init(RtCommBase *b, const RtProg *p, const char *library, int rank, double timeout_seconds)
{
	int q = rank % p->dp;
	*b = (RtCommBase){
		.library = library, .rank = rank, .dp = p->dp, .ep = p->ep,
		.size = {[RT_COMM_WORLD] = p->world, [RT_COMM_DP] = p->dp, [RT_COMM_EP] = p->ep,
		         [RT_COMM_SHARD] = p->ep_shard, [RT_COMM_PP] = p->pp},
		.index = {[RT_COMM_WORLD] = rank, [RT_COMM_DP] = q, [RT_COMM_EP] = q % p->ep,
		          [RT_COMM_SHARD] = q / p->ep, [RT_COMM_PP] = rank / p->dp},
		.timeout = timeout_seconds, .instr = -1, .group = -1, .peer = -1,
	};
}

static const RtCommBase *base(const RtComm *c)
{
	return (const RtCommBase *)(const void *)c;
}

void rt_comm_where(RtComm *c, int instr, const char *text)
{
	RtCommBase *b = (RtCommBase *)(void *)c;
	b->instr = instr;
	b->text = text;
}

int rt_comm_size(const RtComm *c, RtCommGroup g)
{
	return base(c)->size[g];
}

int rt_comm_index(const RtComm *c, RtCommGroup g)
{
	return base(c)->index[g];
}

int rt_comm_world_rank(const RtCommBase *b, RtCommGroup g, int member)
{
	int q = b->rank % b->dp, first = b->rank - q;
	switch (g) {
	case RT_COMM_PP: return member * b->dp + q;
	case RT_COMM_DP: return first + member;
	case RT_COMM_EP: return first + q - q % b->ep + member;
	case RT_COMM_SHARD: return first + member * b->ep + q % b->ep;
	default: return member;
	}
}

const char *rt_comm_group_name(RtCommGroup g)
{
	static const char *const names[] = {"world", "data-parallel", "expert-parallel", "expert-shard", "pipeline"};
	return names[g];
}

void rt_comm_waiting(const RtCommBase *b, int group, int peer, char *out, size_t size)
{
	if (group < 0)
		*out = 0;
	else if (peer >= 0)
		snprintf(out, size, ", waiting for rank %d", rt_comm_world_rank(b, (RtCommGroup)group, peer));
	else
		snprintf(out, size, ", waiting for its %s group", rt_comm_group_name((RtCommGroup)group));
}

const char *rt_comm_doing(const RtCommBase *b)
{
	return b->text ? b->text : "start";
}

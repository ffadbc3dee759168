/* model.h - a model lowered to layer classes: what the front end hands to the passes.
 *
 * A layer class is one body; its instances differ in the names of their weights only. The model
 * is a list of instances: the entry (embedding), the layers, the exit (final norm, head, loss).
 * Values cross from one instance to the next only as named carried values ("x", "selection").
 * Everything up to kernels is done once per class; stages cut the list of instances.
 */
#ifndef GLMC_MODEL_H
#define GLMC_MODEL_H

#include "graph.h"

typedef struct LayerClass {
	const char *name;        /* "entry", "layer.dense", "layer.sparse", "layer.sparse.2", "exit" */
	Graph *fwd;              /* inputs: carried values by name, "tokens" i32[T], "labels" i32[T];
	                            outputs: PORT_CARRY by name, PORT_LOSS, PORT_BALANCE */
	WeightDecl *weights;     /* operands of OP_weight */
	uint32_t nweights;
} LayerClass;

typedef struct Instance {
	uint32_t cls;
	int layer;               /* 0 .. L-1; -1 for entry and exit */
	const char *prefix;      /* "model.layers.3." or "" : put before WeightDecl.name */
	bool is_entry, is_exit;
} Instance;

/* A size of the model as used, after --config: for the program's check of the checkpoint's
 * config.json and for messages. Lists are written as JSON text. */
typedef struct ModelSize {
	const char *name;        /* Hugging Face name */
	const char *value;       /* JSON text: "64", "1e-05", "true", "[\"full\",\"shared\"]" */
	bool from_config;        /* given by --config */
} ModelSize;

typedef struct Model {
	const char *name;        /* "GlmMoeDsaForCausalLM" */
	LayerClass *classes;
	uint32_t nclasses;
	Instance *instances;     /* in order: entry, layers, exit */
	uint32_t ninstances;
	ModelSize *sizes;
	uint32_t nsizes;
	int num_layers;
	int64_t vocab_size;      /* first dimension of the entry's embedding weight */
} Model;

#endif

/* PyTorch's checkpoints: what torch.save and torch.jit.save write, as zip archives and in the older container, read
 * without running anything that they hold (io/pickle.h). */
#ifndef IO_TORCH_H
#define IO_TORCH_H
#include "io/pickle.h"
#include "io/tensor_file.h"

typedef struct torch_file torch_file;

/* Whether a file begins as these do. */
bool torch_recognise(const void *data, size_t size);

/* Reads a file image that stays valid and unchanged while the result lives.  NULL with e filled.  A file that names a
 * function that would run code when Python loads it (posix.system, builtins.eval, ...) is refused by that name.
 *
 * Its tensors are those of the model, by the names of its state_dict: those of a pickled or scripted module by the path
 * to them ("blocks.input.w"); of a dict, by its keys, and nested ones joined with dots.  Where a dict wraps the model
 * beside other things, as "ema", "state_dict", "weights", "model" or "module", only that part counts, and the names are
 * without it; optimiser states are left out so. */
torch_file *torch_open(const void *data, size_t size, const char *name, err *e);
/* The same with all tensors, whatever they are for, by the whole path to them: "state_dict.model.blocks.input.w",
 * "optimizer.state.0.exp_avg".  Who looks for a model there finds it by the names that remain: convert/names.h.
 */
torch_file *torch_open_whole(const void *data, size_t size, const char *name, err *e);
void torch_free(torch_file *f);
size_t torch_count(const torch_file *f);
const file_tensor *torch_tensor(const torch_file *f, size_t i); /* in the order of the pickle */
const file_tensor *torch_find(const torch_file *f, const char *name);
/* All that the file holds, hyper-parameters among it. */
const pickle_value *torch_root(const torch_file *f);
#endif

/* Models by their path: GGUF files as they are, checkpoints by way of the cache of converted models. */
#include "cli/model_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/files.h"
#include "cli/terminal.h"
#include "convert/convert.h"
#include "models/model.h"

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool model_input_file(const char *path, err *e)
{
    return !path || !model_is_foreign(path) || import_refuse_model(path, "", e);
}

bool model_input(const options *o, const char *path, char **own, err *e)
{
    bool found = false;
    *own = NULL;
    if (!path)
        return true;
    if (!is_folder(path) && !input_check(path, e))
        return false;
    if (!model_is_foreign(path))
        return true;
    if (!options_given(o, "convert"))
        return import_refuse_model(path, ", or add --convert", e);
    if (!import_cached(path, own, &found, e))
        return false;
    if (found)
        say(LOG_INFO, "%s was converted before: %s", path, *own);
    else
        say_wrote(*own, "the model of %s, which is found there from now on", path);
    return true;
}

/* Chooses a device by the user's words. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "device/find.h"

static bool contains(const char *text, const char *part)
{
    size_t n = strlen(part);
    for (; *text; text++)
        if (strncasecmp(text, part, n) == 0)
            return true;
    return false;
}

/* Whether the whole of s is "N" or "P.D". */
static bool numbers(const char *s, int *a, int *b)
{
    int used = 0;
    *b = -1;
    if (isdigit((unsigned char)*s) && sscanf(s, "%9d%n", a, &used) == 1 && s[used] == 0)
        return true;
    return isdigit((unsigned char)*s) && sscanf(s, "%9d.%9d%n", a, b, &used) == 2 && s[used] == 0;
}

/* One condition of n devices: a number, a type, or part of the device's or its platform's name.  A number that is no
 * device's is part of a name too: "1060". */
static bool matches(const limn_device_info *d, size_t n, const char *word)
{
    int a, b;
    if (numbers(word, &a, &b) && (b >= 0 || (size_t)a < n))
        return b < 0 ? d->index == a : d->platform == a && d->device == b;
    bool gpu = d->type == LIMN_INTEGRATED_GPU || d->type == LIMN_DISCRETE_GPU;
    if (!strcasecmp(word, "gpu"))
        return gpu;
    for (int t = LIMN_CPU; t <= LIMN_ACCELERATOR; t++)
        if (!strcasecmp(word, device_type_name((limn_device_type)t)))
            return d->type == (limn_device_type)t;
    return contains(d->name, word) || contains(d->platform_name, word) || contains(d->vendor, word);
}

static bool matches_all(const limn_device_info *d, size_t count, const char *spec)
{
    char words[256];
    snprintf(words, sizeof words, "%s", spec);
    for (char *save = NULL, *w = strtok_r(words, "&", &save); w; w = strtok_r(NULL, "&", &save)) {
        w += strspn(w, " ");
        for (size_t n = strlen(w); n && w[n - 1] == ' ';)
            w[--n] = 0;
        if (*w && !matches(d, count, w))
            return false;
    }
    return true;
}

/* Higher is preferred by auto: discrete, integrated, accelerator, CPU. */
static int rank(const limn_device_info *d)
{
    static const int by_type[] = {
        [LIMN_DISCRETE_GPU] = 3, [LIMN_INTEGRATED_GPU] = 2, [LIMN_ACCELERATOR] = 1, [LIMN_CPU] = 0};
    return by_type[d->type];
}

static bool usable(const device_entry *d)
{
    return !d->failed && !d->info.problem[0];
}

static bool meant(const device_entry *list, size_t n, const char *spec, size_t i)
{
    return usable(&list[i]) && (!spec || matches_all(&list[i].info, n, spec));
}

/* Whether spec (NULL: all) means entry i, which can be used, and no better driver's entry for the same hardware. */
static bool counts(const device_entry *list, size_t n, const char *spec, size_t i)
{
    const limn_device_info *d = &list[i].info;
    if (!meant(list, n, spec, i))
        return false;
    for (size_t k = 0; d->alternative && k < n; k++) {
        const limn_device_info *other = &list[k].info;
        bool same = (int)k == d->preferred || (other->alternative && other->preferred == d->preferred);
        if (same && k != i && other->platform != d->platform && meant(list, n, spec, k) &&
            ((int)k == d->preferred || device_better(other, d)))
            return false;
    }
    return true;
}

/* The best of those that can be used.  Returns the number of them that are of its type: 0 where there is none. */
static size_t choose_best(const device_entry *list, size_t n, size_t *chosen, char reason[160])
{
    size_t best = n, peers = 0, all = 0, broken = 0, failed = 0;
    for (size_t i = 0; i < n; i++) {
        broken += !usable(&list[i]);
        failed += list[i].failed;
        if (!counts(list, n, NULL, i))
            continue;
        const limn_device_info *a = best < n ? &list[best].info : NULL, *b = &list[i].info;
        if (!a || rank(b) > rank(a) || (rank(b) == rank(a) && b->gflops > a->gflops))
            best = i;
        all++;
    }
    if (all == 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        peers += counts(list, n, NULL, i) && rank(&list[i].info) == rank(&list[best].info);
    const limn_device_info *d = &list[best].info;
    static const char *const kinds[] = {"CPU", "integrated GPU", "discrete GPU", "accelerator"};
    char rest[80] = "";
    if (failed)
        snprintf(rest, sizeof rest, " that can be opened");
    else if (broken)
        snprintf(rest, sizeof rest, " that can be used (limn devices says what is wrong with %s)",
                 broken == 1 ? "the other" : "the others");
    if (all == 1)
        snprintf(reason, 160, "the only device%s", rest);
    else if (peers == 1)
        snprintf(reason, 160, "the only %s of %zu devices%s", kinds[d->type], all, rest);
    else
        snprintf(reason, 160, "the %s of %zu %ss%s", d->gflops > 0 ? "fastest measured" : "first", peers,
                 kinds[d->type], rest);
    *chosen = best;
    return peers;
}

/* "  1  0.1  cpu  NAME (PLATFORM)" for each entry that spec means, NULL: for all. */
static void list_candidates(const device_entry *list, size_t n, const char *spec, bool useless, char *out, size_t size)
{
    size_t used = 0;
    *out = 0;
    for (size_t i = 0; i < n && used + 1 < size; i++) {
        const limn_device_info *d = &list[i].info;
        if (spec && (useless ? !matches_all(d, n, spec) : !counts(list, n, spec, i)))
            continue;
        used += (size_t)snprintf(out + used, size - used, "\n  %d  %d.%d  %-5s  %s (%s)%s%s", d->index, d->platform,
                                 d->device, device_type_name(d->type), d->name, d->platform_name,
                                 d->problem[0] ? ": " : "", d->problem);
        if (d->alternative && used + 1 < size)
            used += (size_t)snprintf(out + used, size - used, ": the same hardware as %d", d->preferred);
    }
}

/* The one of the `found` whose turn it is. */
static void take_turn(const device_entry *list, size_t n, const char *spec, size_t found, int turn, int turns,
                      size_t *chosen, char reason[160])
{
    size_t left = (size_t)turn % found, best = *chosen;
    for (size_t i = 0; i < n; i++)
        if (counts(list, n, spec, i) && (spec || rank(&list[i].info) == rank(&list[best].info))) {
            *chosen = i;
            if (left-- == 0)
                break;
        }
    snprintf(reason, 160, "number %zu of %zu, which %d processes %s", (size_t)turn % found + 1, found, turns,
             (size_t)turns > found ? "share" : "take in turn");
}

bool device_spec_is_auto(const char *spec)
{
    return !spec || !*spec || !strcasecmp(spec, "auto");
}

/* The message where spec names nothing that can be used. */
static bool nothing(const device_entry *list, size_t n, const char *spec, err *e)
{
    char candidates[1500];
    size_t named = 0, last = 0;
    for (size_t i = 0; i < n; i++)
        if (!spec || matches_all(&list[i].info, n, spec)) {
            named++;
            last = i;
        }
    const limn_device_info *d = &list[last].info;
    if (spec && named == 1)
        return err_set(e, ERR_DEVICE, "`device` %s: %d.%d, %s (%s): %s", spec, d->platform, d->device, d->name,
                       d->platform_name, d->problem);
    list_candidates(list, n, named ? spec : NULL, true, candidates, sizeof candidates);
    if (!spec)
        return err_set(e, ERR_DEVICE, "OpenCL: no device that can be used (`limn devices` says more):%s", candidates);
    return named ? err_set(e, ERR_DEVICE, "`device` %s: none of these can be used:%s", spec, candidates)
                 : err_set(e, ERR_DEVICE, "`device` %s: no such device (the devices are:%s)", spec, candidates);
}

bool device_select(const device_entry *list, size_t n, const char *spec, int turn, int turns, size_t *chosen,
                   char reason[160], err *e)
{
    if (device_spec_is_auto(spec)) {
        size_t peers = choose_best(list, n, chosen, reason);
        if (peers == 0)
            return nothing(list, n, NULL, e);
        if (turns > 1)
            take_turn(list, n, NULL, peers, turn, turns, chosen, reason);
        return true;
    }
    if (strlen(spec) > 200)
        return err_set(e, ERR_USAGE, "`device`: a name of more than 200 characters (use a number: limn devices)");
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        if (counts(list, n, spec, i)) {
            *chosen = i;
            found++;
        }
    if (found == 0)
        return nothing(list, n, spec, e);
    if (turns > 1) {
        take_turn(list, n, spec, found, turn, turns, chosen, reason);
        return true;
    }
    if (found == 1) {
        snprintf(reason, 160, "chosen by \"%.100s\"", spec);
        return true;
    }
    char candidates[1500];
    list_candidates(list, n, spec, false, candidates, sizeof candidates);
    return err_set(e, ERR_USAGE, "`device` %s: %zu devices match (say it by number, or add & and more of the name):%s",
                   spec, found, candidates);
}

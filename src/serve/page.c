/* The page at /: one HTML file with its style and script, which a number of its answer's own lets the browser take. */
#include "serve/page.h"

#include <string.h>

/* What stands for itself in page.html. */
typedef struct word {
    const char *name, *text;
} word;

/* page.html, with each word's text in its place. */
static bool put_page(text_buffer *b, const word *words, size_t n)
{
    const char *from = page_files[0].text;
    bool ok = true;
    for (const char *at; ok && (at = strchr(from, '@'));) {
        const word *w = NULL;
        for (size_t i = 0; i < n && !w; i++)
            w = strncmp(at, words[i].name, strlen(words[i].name)) ? NULL : &words[i];
        ok = text_put(b, from, (size_t)(at - from) + !w) && (!w || text_put(b, w->text, strlen(w->text)));
        from = at + (w ? strlen(w->name) : 1);
    }
    return ok && text_put(b, from, strlen(from));
}

void page_get(server *s, exchange *x)
{
    char nonce[STORE_NAME] = "", policy[512];
    text_buffer b = {0};
    const word words[] = {{"@NONCE@", nonce},
                          {"@KEY@", s->o.key ? "needed" : ""},
                          {"@STYLE@", page_files[1].text},
                          {"@SCRIPT@", page_files[2].text}};
    if (!store_random_name(nonce) || !put_page(&b, words, sizeof words / sizeof *words)) {
        api_error a;
        api_fail(&a, 500, "", NULL, "the server's memory is short");
        api_answer_error(x, &a);
        text_release(&b);
        return;
    }
    /* blob: and data: are what the page makes itself, above all pictures */
    snprintf(policy, sizeof policy,
             "default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; img-src 'self' blob: data:; "
             "connect-src 'self' blob: data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
             nonce, nonce);
    exchange_put_header(x, "Content-Security-Policy", policy);
    exchange_put_header(x, "X-Content-Type-Options", "nosniff");
    exchange_put_header(x, "Referrer-Policy", "same-origin");
    exchange_put_header(x, "Cross-Origin-Opener-Policy", "same-origin");
    exchange_put_header(x, "Cache-Control", "no-store");
    exchange_answer(x, 200, "text/html; charset=utf-8", b.text, b.size);
    text_release(&b);
}

/* The words of a query, one after the other. */
#ifndef VTXSIM_TRACES_QUERY_WORDS_H
#define VTXSIM_TRACES_QUERY_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUERY_WORD_MAX 256

enum query_token { QUERY_END, QUERY_NAME, QUERY_VALUE, QUERY_STRING, QUERY_SIGN };

struct query_words {
    const char *text, *at;
    enum query_token token;
    const char *start;         /* of the token */
    char word[QUERY_WORD_MAX]; /* a string without its quotes */
    size_t length;             /* of word */
    uint64_t number;           /* QUERY_VALUE */
    int error;                 /* -errno; stays */
    char *message;             /* of the first error */
    size_t message_size;
};

/* Sets the error -EINVAL and its message, with the place. The first one stays. */
void query_fail(struct query_words *words, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Goes on to the next word; QUERY_END at the end and after an error. */
void query_advance(struct query_words *words);
/* Takes a sign or a word of the language if it is there. */
bool query_accept(struct query_words *words, const char *word);
/* Fails if it is not there. */
void query_expect(struct query_words *words, const char *word);

#endif

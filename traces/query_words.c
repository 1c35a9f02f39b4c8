/* Queries, taken apart into words. */
#include "traces/query_words.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void query_fail(struct query_words *words, const char *format, ...)
{
    va_list arguments;
    int used;

    if (words->error)
        return;
    words->error = -EINVAL;
    used = snprintf(words->message, words->message_size,
                    "column %td: ", words->start - words->text + 1);
    if (used < 0 || (size_t)used >= words->message_size)
        return;
    va_start(arguments, format);
    vsnprintf(words->message + used, words->message_size - (size_t)used, format, arguments);
    va_end(arguments);
}

static bool in_name(const char *at)
{
    return isalnum((unsigned char)*at) || strchr("_$@", *at) != NULL ||
           (*at == '-' && isalnum((unsigned char)at[1])) || (*at == '.' && at[1] != '.');
}

/* A string in quotes; \xHH, \n and \ before any other character. */
static void take_string(struct query_words *words)
{
    char quote = *words->at++;

    words->token = QUERY_STRING;
    words->length = 0;
    while (*words->at && *words->at != quote) {
        char c = *words->at++;

        if (c == '\\' && *words->at) {
            c = *words->at++;
            if (c == 'n') {
                c = '\n';
            } else if (c == 'x' && isxdigit((unsigned char)*words->at)) {
                char digits[3] = {words->at[0], words->at[1], 0};
                char *end;

                c = (char)strtoul(digits, &end, 16);
                words->at += end - digits;
            }
        }
        if (words->length < QUERY_WORD_MAX - 1)
            words->word[words->length++] = c;
    }
    if (*words->at)
        words->at++;
    else
        query_fail(words, "the string has no end: close it with %c", quote);
    words->word[words->length] = '\0';
}

static void take_number(struct query_words *words)
{
    char *end;

    errno = 0;
    words->number = strtoull(words->at, &end, 0);
    words->token = QUERY_VALUE;
    if (errno || isalnum((unsigned char)*end))
        query_fail(words, "\"%.*s\" is not a number", (int)strcspn(words->at, " )}"), words->at);
    words->at = end;
}

static void take_name(struct query_words *words)
{
    words->token = QUERY_NAME;
    words->length = 0;
    for (; *words->at && in_name(words->at); words->at++)
        if (words->length < QUERY_WORD_MAX - 1)
            words->word[words->length++] = *words->at;
    words->word[words->length] = '\0';
}

static void take_sign(struct query_words *words)
{
    static const char *const signs[] = {"==", "!=", "<=", ">=", "&&", "||", "..", "=", "<", ">",
                                        "!",  "&",  "~",  "(",  ")",  "{",  "}",  ",", "+"};

    words->token = QUERY_SIGN;
    for (unsigned i = 0; i < sizeof(signs) / sizeof(*signs); i++) {
        words->length = strlen(signs[i]);
        if (strncmp(words->at, signs[i], words->length) != 0)
            continue;
        memcpy(words->word, signs[i], words->length + 1);
        words->at += words->length;
        return;
    }
    query_fail(words, "'%c' has no meaning here", *words->at);
}

void query_advance(struct query_words *words)
{
    while (isspace((unsigned char)*words->at))
        words->at++;
    words->start = words->at;
    words->word[0] = '\0';
    if (words->error || !*words->at)
        words->token = QUERY_END;
    else if (isdigit((unsigned char)*words->at))
        take_number(words);
    else if (isalpha((unsigned char)*words->at) || *words->at == '_')
        take_name(words);
    else if (*words->at == '"' || *words->at == '\'')
        take_string(words);
    else
        take_sign(words);
}

/* Takes a sign or a word of the language if it is there. */
bool query_accept(struct query_words *words, const char *word)
{
    if ((words->token != QUERY_SIGN && words->token != QUERY_NAME) ||
        strcmp(words->word, word) != 0)
        return false;
    query_advance(words);
    return true;
}

void query_expect(struct query_words *words, const char *word)
{
    if (!query_accept(words, word))
        query_fail(words, "\"%s\" is missing here", word);
}

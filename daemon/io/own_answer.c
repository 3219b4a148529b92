#include "daemon/io/own_answer.h"

#include "proto/http1_response.h"

static const struct answer {
    uint16_t status;
    const char *text;       /* NULL: the standard phrase says it */
    const char *field_name; /* NULL: none */
    const char *field_value;
} ANSWERS[] = {
    {.status = 200, .text = "OK"},
    {.status = 405, .field_name = "Allow", .field_value = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, TRACE"},
    {.status = 500, .text = "The application failed."},
    {.status = 502, .text = "The application process ended before it answered."},
    {.status = 503, .text = "The server is busy; try again.", .field_name = "Retry-After", .field_value = "1"},
    {.status = 504, .text = "The application did not answer in time."},
};

static const struct answer *find(uint16_t status)
{
    for (size_t i = 0; i < sizeof ANSWERS / sizeof ANSWERS[0]; i++)
        if (ANSWERS[i].status == status)
            return &ANSWERS[i];
    return NULL;
}

const char *own_answer_text(uint16_t status)
{
    const struct answer *answer = find(status);
    return answer != NULL && answer->text != NULL ? answer->text : http1_reason(status);
}

bool own_answer_field(uint16_t status, struct bytes *ret_name, struct bytes *ret_value)
{
    const struct answer *answer = find(status);
    if (answer == NULL || answer->field_name == NULL)
        return false;
    *ret_name = bytes_of_string(answer->field_name);
    *ret_value = bytes_of_string(answer->field_value);
    return true;
}

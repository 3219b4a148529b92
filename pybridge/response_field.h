/*
 * Response field: may a header, or a trailer, of the application go out?
 *
 * WSGI and ASGI ask the same question of the same rule (H1-42): a name is a token, a value has no control octet but the
 * tab. Fields that belong to the connection are the I/O process's to write. Of trailers more is asked: they come when
 * the response has been acted upon (RFC 9110 6.5.1).
 *
 * Owns:    nothing. Pure; any thread.
 */
#ifndef PYBRIDGE_RESPONSE_FIELD_H
#define PYBRIDGE_RESPONSE_FIELD_H

#include "proto/http_fields.h"

enum response_field {
    RESPONSE_FIELD_GOOD,
    RESPONSE_FIELD_CONTENT_LENGTH, /* good; ret_content_length says how much */
    RESPONSE_FIELD_OF_CONNECTION,  /* Transfer-Encoding, Upgrade and so on: left out. Connection: close is good */
    RESPONSE_FIELD_BAD_NAME,
    RESPONSE_FIELD_BAD_VALUE,
    RESPONSE_FIELD_BAD_LENGTH, /* Content-Length is no number */
    RESPONSE_FIELD_NO_TRAILER, /* it frames, routes, authenticates or describes the response: too late at its end */
};

/* `name` in any case. *ret_content_length is touched for RESPONSE_FIELD_CONTENT_LENGTH only. */
enum response_field response_field_check(struct bytes name, struct bytes value, int64_t *ret_content_length);

/* The same for a trailer: GOOD, BAD_NAME, BAD_VALUE or NO_TRAILER. */
enum response_field response_trailer_check(struct bytes name, struct bytes value);

/* What is wrong, for the operator: "the name of a response header is not a token". NULL for what may go out. */
const char *response_field_complaint(enum response_field verdict);

#endif

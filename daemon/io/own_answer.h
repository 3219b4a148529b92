/*
 * Own answer: what this server says itself, where no application does.
 *
 * Owns nothing. Pure.
 */
#ifndef DAEMON_IO_OWN_ANSWER_H
#define DAEMON_IO_OWN_ANSWER_H

#include "proto/bytes.h"

/* One line for the body. */
const char *own_answer_text(uint16_t status);

/* The field that goes along with that status; false: none. */
bool own_answer_field(uint16_t status, struct bytes *ret_name, struct bytes *ret_value);

#endif

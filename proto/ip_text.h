/*
 * IP text: addresses as numbers and as text, RFC 3986 3.2.2 and RFC 5952.
 *
 * Pure. Strict: no leading zeros in a decimal octet, no zone, nothing around the address.
 */
#ifndef PROTO_IP_TEXT_H
#define PROTO_IP_TEXT_H

#include "proto/bytes.h"

enum { IP4_BYTES = 4, IP6_BYTES = 16, IP_TEXT_MAX = 46 };

bool ip_text_parse4(struct bytes text, uint8_t ret_address[IP4_BYTES]);
bool ip_text_parse6(struct bytes text, uint8_t ret_address[IP6_BYTES]);

/* NUL-terminated text in canonical form. */
void ip_text_format4(const uint8_t address[IP4_BYTES], char output[IP_TEXT_MAX]);
void ip_text_format6(const uint8_t address[IP6_BYTES], char output[IP_TEXT_MAX]);

#endif

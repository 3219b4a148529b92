/*
 * Development certificate: TLS on one's own machine without any preparation.
 *
 * Made by the program `openssl` (ECDSA P-256, a year, for localhost, 127.0.0.1 and ::1), and used again until a week
 * before its end. Nobody has signed it but itself, so browsers warn, and a client trusts it when it is told to. It is
 * no authority: nothing else can be signed with its key.
 *
 * Owns:    nothing that lasts; the files stay.
 * Threads: the supervisor's only one, before the loop: it waits for openssl.
 */
#ifndef DAEMON_SUPERVISOR_DEV_CERTIFICATE_H
#define DAEMON_SUPERVISOR_DEV_CERTIFICATE_H

#include <stdbool.h>

enum { DEV_CERTIFICATE_WHY_BYTES = 512 };

/* Both files lie in one directory, which is made too. `why` has a sentence for the operator on failure. */
[[nodiscard]] int dev_certificate_ensure(const char *certificate, const char *key, bool *ret_made,
                                         char why[DEV_CERTIFICATE_WHY_BYTES]);

#endif

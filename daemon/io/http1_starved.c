#include "daemon/io/http1_starved.h"

void http1_starved_wait(struct http1_session *session)
{
    struct http1_sessions *all = session->all;
    if (session->starved)
        return;
    session->starved = true;
    session->starved_next = NULL;
    if (all->starved_last != NULL)
        all->starved_last->starved_next = session;
    else
        all->starved_first = session;
    all->starved_last = session;
}

void http1_starved_wait_for_block(struct http1_session *session)
{
    http1_starved_wait(session);
    session->all->block_wanted = true;
}

void http1_starved_leave(struct http1_session *session)
{
    struct http1_sessions *all = session->all;
    struct http1_session **at = &all->starved_first;
    struct http1_session *previous = NULL;
    if (!session->starved)
        return;
    while (*at != session) {
        previous = *at;
        at = &(*at)->starved_next;
    }
    *at = session->starved_next;
    if (all->starved_last == session)
        all->starved_last = previous;
    session->starved = false;
}

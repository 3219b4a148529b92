#include "pybridge/asgi/asgi_cycle.h"

void asgi_cycle_want_room(struct asgi_cycle *cycle)
{
    struct asgi_adapter *adapter = cycle->adapter;
    if (cycle->wants_room)
        return;
    cycle->wants_room = true;
    cycle->next_wanting = NULL;
    Py_INCREF(cycle);
    if (adapter->wanting.last != NULL)
        adapter->wanting.last->next_wanting = cycle;
    else
        adapter->wanting.first = cycle;
    adapter->wanting.last = cycle;
}

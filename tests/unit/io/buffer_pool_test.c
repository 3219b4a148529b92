#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/io/io_scene.h"

static uint8_t *receive(struct scene *scene, uint32_t id, struct loan *ret_loan)
{
    scripted_buffer_taken(scene->core.ring, LOAN_RECEIVE);
    uint8_t *memory = buffer_pool_received(&scene->core.buffers, LOAN_RECEIVE, (int32_t)id, ret_loan);
    assert_non_null(memory);
    return memory;
}

static void a_buffer_goes_back_with_its_last_holder_and_at_the_commit(void **state)
{
    (void)state;
    struct scene scene;
    struct loan loan;
    scene_open(&scene, NULL);
    struct buffer_pool *pool = &scene.core.buffers;
    uint32_t all = scripted_buffers_free(scene.core.ring, LOAN_RECEIVE);
    receive(&scene, 0, &loan);
    struct loan second = loan;
    buffer_pool_hold(pool, second);
    buffer_pool_drop(pool, &loan);
    assert_int_equal(loan.kind, LOAN_NONE);
    assert_int_equal(buffer_pool_live(pool), 1);
    buffer_pool_drop(pool, &second);
    assert_int_equal(buffer_pool_live(pool), 0);
    assert_int_equal(scripted_buffers_free(scene.core.ring, LOAN_RECEIVE), all - 1);
    buffer_pool_commit(pool);
    assert_int_equal(scripted_buffers_free(scene.core.ring, LOAN_RECEIVE), all);
    buffer_pool_drop(pool, &second); /* of nothing: nothing */
    scene_close(&scene);
}

static void numbers_that_the_kernel_never_had_are_nothing(void **state)
{
    (void)state;
    struct scene scene;
    struct loan loan;
    scene_open(&scene, NULL);
    const int32_t count = (int32_t)scene.core.setup.shape.recv_buffers;
    assert_null(buffer_pool_received(&scene.core.buffers, LOAN_RECEIVE, -1, &loan));
    assert_null(buffer_pool_received(&scene.core.buffers, LOAN_RECEIVE, count, &loan));
    scene_close(&scene);
}

/* Whether `wrong` ends its process by an assertion. */
static bool asserts(void (*wrong)(struct buffer_pool *pool, struct loan loan), struct scene *scene, struct loan loan)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        wrong(&scene->core.buffers, loan);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void drop(struct buffer_pool *pool, struct loan loan)
{
    buffer_pool_drop(pool, &loan);
}

static void receive_again(struct buffer_pool *pool, struct loan loan)
{
    struct loan again;
    (void)buffer_pool_received(pool, loan.kind, (int32_t)loan.id, &again);
}

static void a_drop_too_many_and_a_buffer_filled_twice_are_the_daemons_fault(void **state)
{
    (void)state;
    struct scene scene;
    struct loan loan;
    scene_open(&scene, NULL);
    receive(&scene, 3, &loan);
    struct loan copy = loan;
    assert_true(asserts(receive_again, &scene, copy));
    buffer_pool_drop(&scene.core.buffers, &loan);
    assert_true(asserts(drop, &scene, copy));
    assert_true(asserts(buffer_pool_hold, &scene, copy));
    scene_close(&scene);
}

static void staging_gives_the_smallest_block_that_fits_and_then_any(void **state)
{
    (void)state;
    struct scene scene;
    struct loan loans[16];
    uint8_t *memory;
    uint32_t capacity;
    uint32_t count = 0;
    scene_open(&scene, NULL);
    struct buffer_pool *pool = &scene.core.buffers;
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(buffer_pool_stage(pool, 1, &loans[count++], &memory, &capacity), 0);
        assert_int_equal(capacity, LAYOUT_SMALL_BLOCK_BYTES);
        memory[capacity - 1] = 1;
    }
    assert_int_equal(buffer_pool_stage(pool, 1, &loans[count++], &memory, &capacity), 0);
    assert_int_equal(capacity, LAYOUT_LARGE_BLOCK_BYTES);
    memory[capacity - 1] = 1;
    while (buffer_pool_stage(pool, LAYOUT_LARGE_BLOCK_BYTES, &loans[count], &memory, &capacity) == 0)
        count++;
    assert_int_equal(count, 8);
    assert_false(buffer_pool_has_block(pool, 1));
    assert_int_equal(buffer_pool_stage(pool, 1, &loans[count], &memory, &capacity), -ENOBUFS);
    while (count > 0)
        buffer_pool_drop(pool, &loans[--count]);
    assert_true(buffer_pool_has_block(pool, LAYOUT_LARGE_BLOCK_BYTES));
    scene_close(&scene);
}

static void no_block_holds_more_than_a_large_one(void **state)
{
    (void)state;
    struct scene scene;
    struct loan loan;
    uint8_t *memory;
    uint32_t capacity;
    scene_open(&scene, NULL);
    struct buffer_pool *pool = &scene.core.buffers;
    assert_int_equal(buffer_pool_stage(pool, LAYOUT_LARGE_BLOCK_BYTES + 1, &loan, &memory, &capacity), -EMSGSIZE);
    assert_int_equal(buffer_pool_live(pool), 0);
    scene_close(&scene);
}

static void the_kernel_is_offered_a_part_and_first_what_came_back_last(void **state)
{
    (void)state;
    struct scene scene;
    struct loan loans[3];
    scene_open(&scene, NULL);
    struct buffer_pool *pool = &scene.core.buffers;
    pool->receive.offered_max = 13; /* of 16 that are offered already: none until four are gone */
    for (uint32_t i = 0; i < 3; i++)
        receive(&scene, i, &loans[i]);
    buffer_pool_drop(pool, &loans[0]);
    buffer_pool_drop(pool, &loans[2]);
    buffer_pool_drop(pool, &loans[1]);
    buffer_pool_commit(pool);
    assert_int_equal(scripted_buffers_free(scene.core.ring, LOAN_RECEIVE), 13);
    receive(&scene, 3, &loans[0]);
    buffer_pool_commit(pool);
    assert_int_equal(scripted_buffers_free(scene.core.ring, LOAN_RECEIVE), 13);
    assert_int_equal(scripted_buffer_last(scene.core.ring, LOAN_RECEIVE), 1);
    buffer_pool_drop(pool, &loans[0]);
    pool->receive.offered_max = 16;
    buffer_pool_commit(pool);
    scene_close(&scene);
}

static void a_group_is_scarce_beyond_its_half(void **state)
{
    (void)state;
    struct scene scene;
    struct loan loans[16];
    scene_open(&scene, NULL);
    struct buffer_pool *pool = &scene.core.buffers;
    for (uint32_t i = 0; i < 16; i++) {
        assert_int_equal(buffer_pool_scarce(pool, LOAN_RECEIVE), i > 8);
        assert_true(buffer_pool_available(pool));
        receive(&scene, i, &loans[i]);
    }
    assert_true(buffer_pool_available(pool)); /* the other group has some */
    assert_false(buffer_pool_scarce(pool, LOAN_UPLOAD));
    for (uint32_t i = 0; i < 16; i++)
        buffer_pool_drop(pool, &loans[i]);
    scene_close(&scene);
}

static void offsets_are_those_of_the_arena(void **state)
{
    (void)state;
    struct scene scene;
    struct loan loan;
    scene_open(&scene, NULL);
    uint8_t *memory = receive(&scene, 2, &loan);
    uint32_t offset = buffer_pool_offset(&scene.core.buffers, memory);
    assert_int_equal(offset, scene.core.layout.recv_buffers + 2 * scene.core.setup.shape.recv_buffer_bytes);
    buffer_pool_drop(&scene.core.buffers, &loan);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_goes_back_with_its_last_holder_and_at_the_commit),
        cmocka_unit_test(numbers_that_the_kernel_never_had_are_nothing),
        cmocka_unit_test(a_drop_too_many_and_a_buffer_filled_twice_are_the_daemons_fault),
        cmocka_unit_test(staging_gives_the_smallest_block_that_fits_and_then_any),
        cmocka_unit_test(no_block_holds_more_than_a_large_one),
        cmocka_unit_test(the_kernel_is_offered_a_part_and_first_what_came_back_last),
        cmocka_unit_test(a_group_is_scarce_beyond_its_half),
        cmocka_unit_test(offsets_are_those_of_the_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The extension module _uroboros: main() is an app process from its first breath to its exit, hooks() the process for
 * the hooks of the server. */
#include "pybridge/app_log.h"
#include "pybridge/app_main.h"
#include "pybridge/hooks_process.h"

#ifdef UROBOROS_COVERAGE
/* gcov writes its files at exit, which _exit() leaves out. */
void __gcov_dump(void);
#else
static void __gcov_dump(void)
{
}
#endif

/* Not through the interpreter's own end: a thread stuck in the application would make that hang. */
_Noreturn static void leave(int status)
{
    fflush(NULL);
    __gcov_dump();
    _exit(status);
}

static PyObject *run_main(PyObject *module, [[maybe_unused]] PyObject *none)
{
    leave(app_main(module));
}

static PyObject *run_hooks([[maybe_unused]] PyObject *module, [[maybe_unused]] PyObject *none)
{
    leave(hooks_process_main());
}

static PyMethodDef METHODS[] = {
    {"main", run_main, METH_NOARGS, PyDoc_STR("Serves as an app process; never returns.")},
    {"hooks", run_hooks, METH_NOARGS, PyDoc_STR("Calls the server's hooks of a settings file; never returns.")},
    {"log", app_log_python, METH_VARARGS, PyDoc_STR("log(number, text): a record of logging, into the error log.")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot SLOTS[] = {
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_GIL_DISABLED
    /* The interpreter lock is what makes many threads one reader of the exchange (app_exchange.h). */
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef DEFINITION = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_uroboros",
    .m_doc = PyDoc_STR("The bridge between Uroboros and Python applications."),
    .m_methods = METHODS,
    .m_slots = SLOTS,
};

PyMODINIT_FUNC PyInit__uroboros(void);

PyMODINIT_FUNC PyInit__uroboros(void)
{
    return PyModuleDef_Init(&DEFINITION);
}

/* uroboros-app: an app process whose interpreter is libpython3, for hosts where no interpreter is to be executed. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

PyMODINIT_FUNC PyInit__uroboros(void);

enum { EXIT_BOOT_FAILED = 3 };

/* pybridge/app.py lies beside this program, in the build tree as when installed. */
static bool find_script(char *ret_path, size_t capacity)
{
    static const char NAME[] = "pybridge/app.py";
    ssize_t length = readlink("/proc/self/exe", ret_path, capacity - 1);
    if (length <= 0)
        return false;
    ret_path[length] = '\0';
    char *slash = strrchr(ret_path, '/');
    if (slash == NULL || (size_t)(slash + 1 - ret_path) + sizeof NAME > capacity)
        return false;
    memcpy(slash + 1, NAME, sizeof NAME);
    return true;
}

static PyStatus configure(PyConfig *config, const char *script, int argc, char **argv)
{
    PyStatus status = PyConfig_SetBytesArgv(config, argc, argv);
    if (!PyStatus_Exception(status))
        status = PyConfig_SetBytesString(config, &config->run_filename, script);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(config);
    return status;
}

int main(int argc, char **argv)
{
    char script[PATH_MAX];
    if (!find_script(script, sizeof script) || PyImport_AppendInittab("_uroboros", PyInit__uroboros) < 0) {
        fprintf(stderr, "uroboros-app: pybridge/app.py cannot be found beside this program\n");
        return EXIT_BOOT_FAILED;
    }
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.parse_argv = 0;
    PyStatus status = configure(&config, script, argc, argv);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
        fprintf(stderr, "uroboros-app: Python cannot start: %s\n", status.err_msg);
        return EXIT_BOOT_FAILED;
    }
    return Py_RunMain();
}

/* What the system says of GPUs and permissions, on trees that look like some machines'. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "device/drivers.h"
#include "device/machine.h"

static char root[] = "/tmp/limn-machine-XXXXXX";

static void shell(const char *line)
{
    char all[4096];
    snprintf(all, sizeof all, "cd %s && %s", root, line);
    assert_int_equal(system(all), 0);
}

static int make_root(void **state)
{
    (void)state;
    strcpy(root + strlen(root) - 6, "XXXXXX");
    return mkdtemp(root) && chmod(root, 0755) == 0 ? 0 : -1;
}

static int drop_root(void **state)
{
    (void)state;
    shell("rm -rf sys dev etc home");
    return rmdir(root);
}

static void gpus_are_found_on_the_bus(void **state)
{
    (void)state;
    machine_gpu gpus[MACHINE_MOST];
    assert_int_equal(machine_gpus(root, gpus), 0);
    shell(
        "for d in 00:02.0/0x030000/0x8086/0x9a49/i915 03:00.0/0x030000/0x1002/0x73bf/amdgpu "
        "41:00.0/0x030200/0x10de/0x2684/ 00:1f.3/0x040300/0x8086/0xa0c8/snd 42:00.0/0x120000/0x1002/0x740c/amdgpu; do "
        "IFS=/ read -r at class vendor device driver <<E\n$d\nE\n f=sys/devices/0000:$at; mkdir -p $f "
        "sys/bus/pci/devices "
        "sys/drivers/x; echo $class > $f/class; echo $vendor > $f/vendor; echo $device > $f/device; "
        "if [ -n \"$driver\" ]; then mkdir -p sys/drivers/$driver; ln -s ../../drivers/$driver $f/driver; fi; "
        "ln -s ../../../devices/0000:$at sys/bus/pci/devices/0000:$at; done; "
        "mkdir -p sys/class/drm/card0; ln -s ../../../devices/0000:00:02.0 sys/class/drm/card0/device");
    assert_int_equal(machine_gpus(root, gpus), 4);
    assert_string_equal(gpus[0].pci, "0000:00:02.0");
    assert_int_equal(gpus[0].vendor, 0x8086);
    assert_int_equal(gpus[0].product, 0x9a49);
    assert_string_equal(gpus[0].driver, "i915");
    assert_string_equal(gpus[1].driver, "amdgpu");
    assert_string_equal(machine_vendor(gpus[1].vendor), "AMD");
    assert_string_equal(gpus[2].pci, "0000:41:00.0");
    assert_string_equal(gpus[2].driver, "");
    assert_int_equal(gpus[3].product, 0x740c);
    shell("rm -r sys/bus"); /* as in some containers */
    assert_int_equal(machine_gpus(root, gpus), 1);
    assert_string_equal(gpus[0].pci, "0000:00:02.0");
}

static void packages_have_the_names_of_the_distribution(void **state)
{
    (void)state;
    assert_string_equal(machine_package(root, 0x8086), "intel-opencl-icd");
    shell("mkdir etc; printf 'NAME=x\\nID=ubuntu\\nID_LIKE=debian\\n' > etc/os-release");
    assert_string_equal(machine_package(root, 0), "pocl-opencl-icd");
    shell("printf 'ID=nobara\\nID_LIKE=\"rhel fedora\"\\n' > etc/os-release");
    assert_string_equal(machine_package(root, 0x8086), "intel-compute-runtime");
    shell("printf 'ID=arch\\n' > etc/os-release");
    assert_string_equal(machine_package(root, 0x10de), "opencl-nvidia");
}

/* As a user without privileges. */
static void permissions_are_explained(void **state)
{
    (void)state;
    shell("mkdir -p dev/dri home; touch dev/dri/renderD128 dev/kfd dev/nvidiactl dev/dri/card0; chmod 755 dev dev/dri; "
          "chmod 660 dev/dri/renderD128; chmod 600 dev/kfd; chmod 666 dev/nvidiactl; chmod 755 home");
    if (geteuid() != 0)
        skip();
    shell("chgrp 1 dev/dri/renderD128");
    pid_t pid = fork();
    if (pid == 0) {
        machine_node n[MACHINE_MOST];
        char advice[256], inside[64];
        snprintf(inside, sizeof inside, "%s/home/deep/er", root);
        if (setgid(65534) != 0 || setuid(65534) != 0)
            _exit(77);
        bool ok = machine_nodes(root, n) == 3 && !n[0].usable && !strcmp(n[0].path, "/dev/dri/renderD128") &&
                  !strcmp(n[0].why, "Permission denied") && n[0].group[0] && !n[0].member;
        machine_node_advice(&n[0], advice, sizeof advice);
        ok = ok && strstr(advice, "you are not in its group") && strstr(advice, "sudo usermod -aG");
        ok = ok && !n[1].usable && !n[1].group[0] && n[2].usable;
        machine_node_advice(&n[1], advice, sizeof advice);
        ok = ok && strstr(advice, "chmod g+rw /dev/kfd");
        ok = ok && !machine_can_write(inside) && machine_can_write("/tmp") && machine_can_write("/tmp/not/there");
        _exit(!ok);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void driver_files_are_listed_as_the_loader_does(void **state)
{
    (void)state;
    char path[128];
    driver_list l;
    shell("mkdir etc; echo libb.so > etc/b.icd; printf 'liba.so\\r\\n' > etc/a.icd; echo x > etc/c.txt; : > etc/d.icd");
    snprintf(path, sizeof path, "%s/etc", root);
    setenv("OCL_ICD_VENDORS", path, 1);
    setenv("OCL_ICD_FILENAMES", "libx.so:/y/liby.so", 1);
    assert_true(drivers_list(&l));
    assert_int_equal(l.n, 5);
    assert_string_equal(l.variable, "OCL_ICD_VENDORS");
    assert_string_equal(l.files[0].library, "liba.so");
    assert_string_equal(l.files[1].library, "libb.so");
    assert_string_equal(l.files[2].library, "");
    assert_string_equal(l.files[2].why, "names no library");
    assert_true(l.files[3].listed && !strcmp(l.files[3].library, "libx.so") &&
                !strcmp(l.files[4].library, "/y/liby.so"));
    drivers_release(&l);
    unsetenv("OCL_ICD_FILENAMES");
    snprintf(path, sizeof path, "%s/etc/b.icd", root); /* one file */
    setenv("OCL_ICD_VENDORS", path, 1);
    assert_true(drivers_list(&l) && l.n == 1);
    assert_string_equal(l.files[0].library, "libb.so");
    drivers_release(&l);
    setenv("OCL_ICD_VENDORS", "libpocl.so.2", 1); /* a library */
    assert_true(drivers_list(&l) && l.n == 1);
    assert_string_equal(l.files[0].library, "libpocl.so.2");
    drivers_release(&l);
    setenv("OCL_ICD_VENDORS", "/nonexistent", 1);
    assert_true(drivers_list(&l) && l.n == 0);
    drivers_release(&l);
    unsetenv("OCL_ICD_VENDORS");
}

static void what_keeps_a_driver_from_working_is_named(void **state)
{
    (void)state;
    char text[600];
    setenv("POCL_CACHE_DIR", "/dev/null/nowhere", 1);
    driver_hint("libpocl.so.2.10.0", text, sizeof text);
    assert_non_null(strstr(text, "POCL_CACHE_DIR=/dev/null/nowhere can't be written"));
    setenv("POCL_CACHE_DIR", "/tmp", 1);
    driver_hint("Portable Computing Language", text, sizeof text);
    assert_string_equal(text, "");
    unsetenv("POCL_CACHE_DIR");
    unsetenv("RUSTICL_ENABLE");
    driver_hint("libRusticlOpenCL.so.1", text, sizeof text);
    assert_non_null(strstr(text, "export RUSTICL_ENABLE="));
    driver_hint("somebody's", text, sizeof text);
    assert_string_equal(text, "");
    driver_load_error("/nonexistent/lib.so", text, sizeof text);
    assert_non_null(strstr(text, "can't be loaded: /nonexistent/lib.so"));
    driver_load_error("libm.so.6", text, sizeof text);
    assert_non_null(strstr(text, "is no OpenCL driver"));
    assert_true(driver_serves("libnvidia-opencl.so.1", 0x10de) && !driver_serves("libnvidia-opencl.so.1", 0x1002));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gpus_are_found_on_the_bus, make_root, drop_root),
        cmocka_unit_test_setup_teardown(packages_have_the_names_of_the_distribution, make_root, drop_root),
        cmocka_unit_test_setup_teardown(permissions_are_explained, make_root, drop_root),
        cmocka_unit_test_setup_teardown(driver_files_are_listed_as_the_loader_does, make_root, drop_root),
        cmocka_unit_test(what_keeps_a_driver_from_working_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

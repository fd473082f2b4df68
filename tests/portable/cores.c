/* Says that there are as many cores as CORES in the environment, to whoever asks the C library: a library cuts its work by that number.
   Loaded by LD_PRELOAD; threads still run where the machine lets them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <unistd.h>

static int cores(void) { return atoi(getenv("CORES")); }

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set) {
  CPU_ZERO_S(size, set);
  for (int core = 0; core < cores(); core++) CPU_SET_S(core, size, set);
  return 0;
}

int pthread_getaffinity_np(pthread_t thread, size_t size, cpu_set_t *set) { return sched_getaffinity(0, size, set); }

int get_nprocs(void) { return cores(); }

int get_nprocs_conf(void) { return cores(); }

long sysconf(int name) {
  static long (*others)(int);
  if (name == _SC_NPROCESSORS_ONLN || name == _SC_NPROCESSORS_CONF) return cores();
  if (!others) others = (long (*)(int))dlsym(RTLD_NEXT, "sysconf");
  return others(name);
}

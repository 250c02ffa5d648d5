/* Built and run inside. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>

static void *work(void *root)
{
	*(double *)root = sqrt(*(double *)root);
	return NULL;
}

int main(void)
{
	double value = 1764;
	pthread_t thread;

	if (pthread_create(&thread, NULL, work, &value) || pthread_join(thread, NULL))
		return 1;
	printf("compiled %g\n", value);
	return 0;
}

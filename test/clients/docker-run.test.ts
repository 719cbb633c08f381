/** `docker run`: exit codes, streams, and what a container sees of its options. */
import { same } from './docker.ts';

same('exit code 0', '$RUN --rm $IMAGE true');
same('exit code 42, both outputs', "$RUN --rm $IMAGE sh -c 'echo out; echo err >&2; exit 42'");

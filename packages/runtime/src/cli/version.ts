/** The version of this program, the same in all its packages. */
export const version = '0.1.0';
/** The version of the OCI runtime specification that is understood. */
export const ociVersion = '1.0.2';

// Re-exports the pinned JOSE library for scripts outside this folder.
export * from "jose";

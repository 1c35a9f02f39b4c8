# Unicorn 2.1.1: the system's, or an unpacked one in VTXSIM_UNICORN_ROOT (./bootstrap puts it there).
#
# Exactly this version: the engine replaces functions inside the library and knows the layout of
# its processor state (sim/unicorn/layout.h), and 2.0.1 and 2.1.4 execute stores some twenty times
# slower.
set(VTXSIM_UNICORN_VERSION 2.1.1)
set(VTXSIM_UNICORN_ROOT "" CACHE PATH "Root of an unpacked Unicorn 2.1.1 (empty: the system's)")

set(_hints)
set(_only)
if(VTXSIM_UNICORN_ROOT)
  set(_hints HINTS "${VTXSIM_UNICORN_ROOT}/usr")
  set(_only NO_DEFAULT_PATH)
endif()
find_path(UNICORN_INCLUDE_DIR unicorn/unicorn.h ${_hints} PATH_SUFFIXES include ${_only})
find_library(UNICORN_LIBRARY unicorn ${_hints}
             PATH_SUFFIXES lib lib/x86_64-linux-gnu lib64 ${_only})

set(_found "none")
if(UNICORN_INCLUDE_DIR AND UNICORN_LIBRARY)
  file(STRINGS "${UNICORN_INCLUDE_DIR}/unicorn/unicorn.h" _lines
       REGEX "#define UC_API_(MAJOR|MINOR|PATCH) [0-9]+")
  string(REGEX REPLACE "[^0-9;]" "" _found "${_lines}")
  string(REPLACE ";" "." _found "${_found}")
endif()
if(NOT _found VERSION_EQUAL VTXSIM_UNICORN_VERSION)
  message(FATAL_ERROR
    "vtxsim needs Unicorn ${VTXSIM_UNICORN_VERSION}; found: ${_found}. "
    "Run ./bootstrap build, which puts the right one into the build folder, or set "
    "-DVTXSIM_UNICORN_ROOT to the folder that holds usr/include/unicorn.")
endif()

add_library(unicorn SHARED IMPORTED)
set_target_properties(unicorn PROPERTIES
  IMPORTED_LOCATION "${UNICORN_LIBRARY}"
  INTERFACE_INCLUDE_DIRECTORIES "${UNICORN_INCLUDE_DIR}")

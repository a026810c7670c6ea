# What our own programs are compiled with. Users never see this target: it is linked privately and not exported.
add_library(fanfare_development INTERFACE)
target_compile_options(fanfare_development INTERFACE
  -Wall -Wextra -Wconversion -Wshadow
  $<$<BOOL:${FANFARE_WARNINGS_AS_ERRORS}>:-Werror>
  $<$<CXX_COMPILER_ID:GNU>:-fconcepts-diagnostics-depth=2>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # g++ 12 warns of what strings never do when it optimises: an overlap in operator+, a copy of more than all memory.
  target_compile_options(fanfare_development INTERFACE -Wno-restrict -Wno-stringop-overflow)
endif()

# What our own programs with a server are linked with.
set(fanfare_server_target fanfare::server)
if(FANFARE_COMPILED AND TARGET fanfare_compiled)
  set(fanfare_server_target fanfare::compiled)
  target_link_libraries(fanfare_compiled PRIVATE fanfare_development)
endif()

if(FANFARE_SANITIZERS)
  target_compile_options(fanfare_development INTERFACE
    -fsanitize=${FANFARE_SANITIZERS} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(fanfare_development INTERFACE -fsanitize=${FANFARE_SANITIZERS})
  if(FANFARE_SANITIZERS MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ warns of every fence, in the standard library too. Our headers have none.
    target_compile_options(fanfare_development INTERFACE -Wno-tsan)
  endif()
endif()

# The build is described in CMakeLists.txt and run by cmake-js. This file is for tools that look for a binding.gyp: it only calls it.
{
  "targets": [
    {
      "target_name": "deltastore",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake_js",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["build/native/Release/deltastore_loader.node"],
          "action": ["npx", "cmake-js", "compile", "--out", "build/native"]
        }
      ]
    }
  ]
}
